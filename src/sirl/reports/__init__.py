"""Report page, plots, tables and exports."""
