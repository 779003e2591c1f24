"""Studies over axes, their statistics, sheets, curves and reports."""
