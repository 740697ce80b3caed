"""What people are told of: a channel that stopped, a message that waits for a decision. Queue `notifications`."""
