--! include lib/clock
--! const REFUSED
-- The calls of accounts whose keys the vendor refuses: one a minute, over all lanes of the account.

local PROBE_EVERY = 60 * SECOND
local REFUSED_TTL = 86400           -- s

-- Return the account's field in the hash of refusals.
local function probe_field(lane)
    return string.match(lane.name, '^[^.]*') .. ':probe'
end

-- Return whether a lane of such an account may give a job.
local function is_probe_due(lane)
    local at = tonumber(redis.call('HGET', REFUSED, probe_field(lane)) or 0) or 0
    return at <= now or at > now + PROBE_EVERY      -- the clock may have been set back
end

-- Take note that a lane of such an account gives a job.
local function note_probe(lane)
    redis.call('HSET', REFUSED, probe_field(lane), integer(now + PROBE_EVERY))
    redis.call('EXPIRE', REFUSED, REFUSED_TTL)
end
