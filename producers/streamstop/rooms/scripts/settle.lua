-- Settle a member whose job ended elsewhere, or which never had one.
--
-- ARGV[1]   lane
-- ARGV[2…]  shutdown id, member, result, outcome, ok, attention
settle_from(2, ARGV[1], now_s)
return 1
