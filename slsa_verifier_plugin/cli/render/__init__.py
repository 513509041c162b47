"""How results are shown: the only modules that know colours, widths and markup."""
