-- The vendor throttled a claimed job: the job goes back to the front of its lane, and the lane rests.
--
-- ARGV[4]  id
-- ARGV[5]  owner  as it claimed
-- ARGV[6]  tries  the job's history
-- ARGV[7]  hint   µs that the vendor asks for; 0: it did not say
-- ARGV[8]  late   µs after its slot at which the call left its worker
-- ARGV[9] moved  as the claim told it
-- Returns  µs that the lane rests; -1 where the job is no longer the owner's
local id, owner, hint = ARGV[4], ARGV[5], tonumber(ARGV[7])

local held = redis.call('HMGET', jobs, id, id .. ':owner')
if held[2] ~= owner then
    return '-1'
end
put_back(id, held[1])
redis.call('HSET', jobs, id .. ':tries', ARGV[6])

if pace.rest > now then     -- what was in flight when the rest began says nothing new, but for how long it asks
    if hint > pace.rest - now then rest_for(math.min(hint, FARTHEST)) end
else
    set('throttles', pace.throttles + 1)
    set('share', math.max(5, math.floor(pace.share / 2)))
    rest_for(math.min(hint > 0 and hint or math.min(30, 2 ^ (pace.throttles - 1)) * SECOND, FARTHEST))
end
make_up(tonumber(ARGV[8]), tonumber(ARGV[9]))
save()
return integer(pace.rest - now)
