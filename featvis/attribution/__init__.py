"""Where in a photograph a target fires: attribution methods, and what tells whether to believe them."""
