"""The browsable gallery: a static site that opens with a double click. No torch in here."""
