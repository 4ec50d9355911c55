-- Give a delivered job back to the front of its lane, uncalled: its worker is shutting down.
--
-- ARGV[4]  id
-- ARGV[5]  owner  as it claimed, or whoever was about to
-- Returns  1, or 0 where the job is another's
local id, owner = ARGV[4], ARGV[5]

local held = redis.call('HMGET', jobs, id, id .. ':owner')
if not held[1] or (held[2] and held[2] ~= owner) or not redis.call('ZSCORE', leases, id) then
    return 0
end
put_back(id, held[1])
refund()
admit()
save()
return 1
