"""The standard library at a glance: what is drawn, what is counted, the page they stand on."""
