-- Settle members whose jobs ended elsewhere, or which never had one.
--
-- KEYS      none
-- ARGV[1…]  lane, shutdown id, member, result, outcome, ok (1 or 0), attention (1 or 0); … of each
-- Returns   1
for at = 1, #ARGV, 7 do
    settle_from(at + 1, ARGV[at], now_s)
end
return 1
