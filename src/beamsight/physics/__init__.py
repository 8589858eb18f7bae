"""Physics as functions of arrays: no classes, no learning."""

# SPDX-License-Identifier: BSD-3-Clause
