-- Claim an admitted job for one call: renew its lease and reserve the lane's next free slot.
-- The same owner may claim again, for another slot.
--
-- KEYS[12]  result   the job's record in Celery's result backend
-- ARGV[4]   id
-- ARGV[5]   owner    whoever claims; new for every delivery
-- ARGV[6]   lease    µs after the slot within which the job must report
-- ARGV[7]   expires  moment after which the job must not be sent; 0: never;  -1: no call is made, and so no slot taken
-- Returns   {'go', µs until the slot, now, tries, moved} | {'expired', 0, now, tries, 0}: the job is the owner's
--           {'stale'}:  it has reported, or is another delivery's
--           {'parked'}: its slot is too far off, or a probe goes first; it is back at the front of its lane
local result = KEYS[12]
local id, owner, lease, expires = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

local held = redis.call('HMGET', jobs, id, id .. ':owner', id .. ':tries')
local message, holder, tries = held[1], held[2], held[3] or ''
if not message or (holder and holder ~= owner) or not redis.call('ZSCORE', leases, id) then
    return {'stale'}
end
if ended(redis.call('MGET', result)[1]) then   -- MGET, for to it a key of another type is none
    forget(id)
    refund()
    admit()
    save()
    return {'stale'}
end

local slot = math.max(now, pace.tat, pace.rest)
if expires < 0 or (expires > 0 and slot >= expires) then
    redis.call('ZADD', leases, integer(now + lease), id)
    redis.call('HSET', jobs, id .. ':owner', owner)
    save()
    return {expires < 0 and 'go' or 'expired', 0, integer(now), tries, 0}
end
-- A failing lane makes one call at a time: what else was admitted before it failed waits for the probe's answer.
local beside = pace.faults >= FAILING and redis.call('ZCARD', leases) > 1
if slot - now > PATIENCE or beside then
    put_back(id, message)
    refund()
    admit()
    save()
    return {'parked'}
end

set('tat', slot + interval())
redis.call('ZADD', leases, integer(slot + lease), id)
redis.call('HSET', jobs, id .. ':owner', owner)
save()
redis.call('EXPIRE', pace_key, PACE_TTL)
return {'go', integer(slot - now), integer(now), tries, integer(pace.moved)}
