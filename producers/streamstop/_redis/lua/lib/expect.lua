--! include lib/clock
--! const SCHEDULE
-- Lanes that something was put into.

local SOON = SECOND / 10            -- when a lane is looked at again, at the latest, that something was put into

-- Have lanes looked at that something was put into: those that stand in no schedule at `at`; others in a moment, for they
-- may stand there for a job that is due much later. One with a backlog is due by then as it is, and is not looked at twice.
local function expect(names, at)
    if #names == 0 then return end
    local new, known = {}, {}
    for i, name in ipairs(names) do
        new[i * 2 - 1], new[i * 2] = integer(at), name
        known[i * 2 - 1], known[i * 2] = integer(now + SOON), name
    end
    redis.call('ZADD', SCHEDULE, 'NX', unpack(new))
    redis.call('ZADD', SCHEDULE, 'XX', 'LT', unpack(known))
end
