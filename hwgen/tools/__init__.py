"""Tools that hwgen drives: Verilator and the C++ compiler."""
