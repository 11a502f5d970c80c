"""What administrators do and see. Every act is refused by the database itself for anybody else, and noted there."""
