"""Topics: what an operator offers beside carrying mail, one module each (floor between the doors and `app`).

A topic connects services, doors and configuration of one subject. `app.py` knows only the list in `mssante.topics.all`.
"""
