"""Several processes that train one student: how they meet, what they compute together, when they stop."""
