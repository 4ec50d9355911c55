--! include lib/clock lib/announce lib/schedule_lanes lib/utf8 lib/writing
--! const ARRIVALS
-- Moves the lanes that producers have announced into the schedule.

local MOST_ARRIVALS = 250           -- in one run
local AHEAD = SECOND / 10           -- how far an empty lane goes ahead of lanes with a backlog

-- Return whether a name that a producer wrote can be a lane's name. Workers could neither decode nor remove another.
local function is_lane(name)
    return #name <= LONGEST_ID and string.find(name, '.', 1, true) ~= nil
        and (not string.find(name, '[^ -~]') or is_utf8(name))
end

-- Add to the schedule the lanes that producers have announced. Return how many there were.
local function schedule_arrivals()
    local arrived = redis.call('SPOP', ARRIVALS, MOST_ARRIVALS)
    has_written = true
    local names = {}
    for _, name in ipairs(arrived) do
        if is_lane(name) then names[#names + 1] = name end
    end
    schedule_lanes(names, now - AHEAD, now + SOON)
    if #arrived == MOST_ARRIVALS then wake() end
    return #names
end
