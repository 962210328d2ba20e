"""What many edges learn from each other, beside other methods, and what they give away."""
