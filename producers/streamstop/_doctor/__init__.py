"""Doctor: examines the queue, and says what is wrong and what to do. Each check is a function of facts, without I/O."""
