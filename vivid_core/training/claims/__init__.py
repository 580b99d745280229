"""The paper's claims and the issue's goals, measured where the truth is known: on held-out clips of the world."""
