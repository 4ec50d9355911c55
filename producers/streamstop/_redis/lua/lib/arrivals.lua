--! include lib/clock lib/announce lib/expect lib/utf8 lib/writing
--! const ARRIVALS
-- The lanes that producers have announced.

local MOST_ARRIVALS = 250           -- in one run
local AHEAD = SECOND / 10           -- how far a lane that had nothing goes ahead of those with a backlog

-- Whether a name that a producer wrote can be a lane's: what a worker can neither read nor forget is none.
local function is_lane(name)
    return #name <= LONGEST_ID and string.find(name, '.', 1, true) ~= nil
        and (not string.find(name, '[^ -~]') or is_utf8(name))
end

-- Note in the schedule the lanes that producers have put jobs into. Returns how many.
local function schedule_arrivals()
    local arrived = redis.call('SPOP', ARRIVALS, MOST_ARRIVALS)
    written = true
    local names = {}
    for _, name in ipairs(arrived) do
        if is_lane(name) then names[#names + 1] = name end
    end
    expect(names, now - AHEAD)
    if #arrived == MOST_ARRIVALS then wake() end
    return #names
end
