"""The compiler: text -> syntax tree -> checked IR -> analysed plan. Knows no torch."""
