"""Hardware blocks: a frozen config that computes (golden) and creates (hardware)."""
