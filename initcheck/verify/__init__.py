"""``initcheck verify``: one initializer compared with what it declares."""
