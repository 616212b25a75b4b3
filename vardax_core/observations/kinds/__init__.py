"""What recipes can say of how the state is observed, a file for each."""
