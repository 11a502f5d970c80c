"""The bus says "there is more"; it carries no truth, so every kind may lose anything."""
