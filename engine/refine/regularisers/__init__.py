"""Prior knowledge about the result, one regulariser or constraint per module (PyPty's two tables)."""
