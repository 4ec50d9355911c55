--! include lib/clock
--! const SCHEDULE
-- Schedules lanes into which something was put.

local SOON = SECOND / 10            -- how late a worker may look at a lane into which something was put

-- Schedule lanes into which something was put. A lane that is not in the schedule is added at `at`. A lane that is already
-- there is moved to SOON, for its moment may be that of a job that is due much later. A lane with a backlog is due before
-- that anyway, and is not looked at twice.
local function schedule_lanes(names, at)
    if #names == 0 then return end
    local new, known = {}, {}
    for i, name in ipairs(names) do
        new[i * 2 - 1], new[i * 2] = integer(at), name
        known[i * 2 - 1], known[i * 2] = integer(now + SOON), name
    end
    redis.call('ZADD', SCHEDULE, 'NX', unpack(new))
    redis.call('ZADD', SCHEDULE, 'XX', 'LT', unpack(known))
end
