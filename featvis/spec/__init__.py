"""What is asked for, as plain data. No torch in here."""
