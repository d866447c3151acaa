"""Tables with typed cells, charts as data, and the forms both are written in.

Nothing here knows what is shown. A caller states facts at full precision (`table`, `chart`); a renderer makes text of
them, once, and nobody reads the text back.
"""
