"""Who is asking: accounts, passwords, sessions and the protection of cookie requests. Other domains import `actor` only."""
