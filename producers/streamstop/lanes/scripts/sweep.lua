-- Mend a lane: jobs whose lease ran out and deferred jobs that are due wait again; then admit.
--
-- ARGV[4]  most         how many jobs of each kind to move in one run
-- ARGV[5]  most_lapses  how often a job may vanish in a worker before its claim
-- ARGV[6]  owner        whoever sweeps: it owns what it is told to end
-- ARGV[7]  lease        µs, longer than any worker's
-- Returns  {lapsed, due, admitted, {id, message, …}}: the last are the owner's, for workers took and could not begin them
local most, most_lapses, owner, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local unbegun = {}

-- What was noted before the clock was set back.
for key, farthest in pairs({[leases] = lease, [due] = FARTHEST}) do
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, integer(now + farthest + 1), '+inf', 'LIMIT', 0, most)) do
        redis.call('ZADD', key, integer(now + farthest), id)
    end
end

local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, most)
for i = #lapsed, 1, -1 do           -- the last goes to the front first, so that the order stays
    local id = lapsed[i]
    local held = redis.call('HMGET', jobs, id, id .. ':owner', id .. ':tries')
    local message, claimed = held[1], held[2]
    if not message then
        redis.call('ZREM', leases, id)
    elseif not claimed and redis.call('LREM', ready, 1, message) + redis.call('LREM', ready_later, 1, message) > 0 then
        put_back(id, message)       -- no worker has taken it: they are busy, or none runs
        refund()
    else
        -- Its worker is gone or stuck, and nobody knows whether the call was made: the third number counts it.
        local attempts, calls, lapses, more = string.match(held[3] or '0 0 0 0 0 0', '^(%d+) (%d+) (%d+)(.*)')
        lapses = lapses + 1
        redis.call('HSET', jobs, id .. ':tries', string.format('%d %d %d%s', attempts, calls, lapses, more))
        if not claimed and lapses > most_lapses then
            redis.call('HSET', jobs, id .. ':owner', owner)
            redis.call('ZADD', leases, integer(now + ADMITTED_LEASE), id)
            unbegun[#unbegun + 1] = id
            unbegun[#unbegun + 1] = message
        else
            put_back(id, message)
        end
    end
end

local again = redis.call('ZRANGEBYSCORE', due, '-inf', integer(now), 'LIMIT', 0, most)
for i = #again, 1, -1 do
    local id = again[i]
    local message = redis.call('HGET', jobs, id)
    redis.call('ZREM', due, id)
    if message then
        put_back(id, message)
    end
end

local admitted = admit()
local holds = redis.call('EXISTS', waiting[1], waiting[2], waiting[3], waiting[4], leases, due) > 0
if holds then
    redis.call('SADD', lanes, lane)
    save()
else
    redis.call('SREM', lanes, lane)
end
return {#lapsed, #again, admitted, unbegun}
