"""The questions that beamsight knows: one module or package each, found by being here."""

# SPDX-License-Identifier: BSD-3-Clause
