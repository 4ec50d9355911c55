"""What goes on for a while: long polls, streams, and their end."""
