"""mssante: an open mail operator for the MSSanté trust space.

Floors, from the top (imports go down only, checked by import-linter):
cli·lab / app / endpoints·transport / services / storage /
trust·documents·routing / protocol / model·config·observability and the small modules of floor 0.
"""

__version__ = "0.1.0"
