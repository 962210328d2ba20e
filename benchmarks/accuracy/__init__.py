"""What the cloud's help, its generators and its encoders are worth to one edge."""
