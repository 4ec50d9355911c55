"""What happens to one delivery, from the moment a worker has taken it to the report that ends it."""
