--! const SCHEDULE
-- Schedules lanes into which something was put.

local SOON = 100000                 -- µs: how late a worker may look at a lane into which something was put

-- Schedule lanes into which something was put. A lane that is not in the schedule is added at `at` (µs). A lane that is
-- already there is moved to `latest`, now + SOON, for its moment may be that of a job that is due much later. A lane with a
-- backlog is due before that anyway, and is not looked at twice.
local function schedule_lanes(names, at, latest)
    if #names == 0 then return end
    local new, known = {}, {}
    for i, name in ipairs(names) do
        new[i * 2 - 1], new[i * 2] = string.format('%.0f', at), name
        known[i * 2 - 1], known[i * 2] = string.format('%.0f', latest), name
    end
    redis.call('ZADD', SCHEDULE, 'NX', unpack(new))
    redis.call('ZADD', SCHEDULE, 'XX', 'LT', unpack(known))
end
