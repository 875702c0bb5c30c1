"""A whole trust space on one machine: certificates, white list, DNS, directory and three operators, all real servers.

For newcomers, for our end-to-end tests and for integrators. Everything listens on 127.0.0.1 only and nothing in it is
good outside a lab: every certificate subject carries the word LAB and the keys lie on disk on purpose. The contract is
the content of `lab.json` (see `mssante.lab.manifest`).
"""
