-- Mend a lane: jobs whose lease ran out and deferred jobs that are due wait again; then admit.
--
-- ARGV[4]  most         how many jobs of each kind to move in one run
-- ARGV[5]  most_lapses  how often a job may vanish in a worker before its claim
-- Returns  {lapsed, due, admitted, messages that were set aside}
local most, most_lapses = tonumber(ARGV[4]), tonumber(ARGV[5])
local poisoned = {}

local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', integer(now), 'LIMIT', 0, most)
for i = #lapsed, 1, -1 do           -- the last goes to the front first, so that the order stays
    local id = lapsed[i]
    local held = redis.call('HMGET', jobs, id, id .. ':owner', id .. ':tries')
    local message, claimed = held[1], held[2]
    if not message then
        redis.call('ZREM', leases, id)
    elseif not claimed and redis.call('LREM', ready, 1, message) == 1 then
        put_back(id, message)       -- no worker has taken it: they are busy, or none runs
        refund()
    else
        -- Its worker is gone or stuck, and nobody knows whether the call was made: the third number counts it.
        local attempts, calls, lapses, signed = string.match(held[3] or '', '^(%d+) (%d+) (%d+) (%d+)')
        lapses = (lapses or 0) + 1
        if not claimed and lapses > most_lapses then
            forget(id)              -- workers take it and cannot even begin
            redis.call('LPUSH', poison, message)
            poisoned[#poisoned + 1] = message
        else
            redis.call('HSET', jobs, id .. ':tries',
                string.format('%d %d %d %d', attempts or 0, calls or 0, lapses, signed or 0))
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
return {#lapsed, #again, admitted, poisoned}
