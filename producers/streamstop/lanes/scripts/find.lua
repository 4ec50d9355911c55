-- Find lanes that hold jobs which nobody has announced, and note them in the schedule.
--
-- ARGV[1]  count       of the operations
-- ARGV[2…] operations, then accounts: every pair is a lane that could exist
-- Returns  how many lanes hold jobs
local count = tonumber(ARGV[1])
local MOST_KEYS = 1000      -- of one command
local found, keys, names = 0, {}, {}

local function look()
    if #keys == 0 or redis.call('EXISTS', unpack(keys)) == 0 then return end
    for i, name in ipairs(names) do
        if redis.call('EXISTS', unpack(keys, i * 4 - 3, i * 4)) > 0 then
            begin_writing()
            redis.call('ZADD', SCHEDULE, 'NX', integer(now), name)
            found = found + 1
        end
    end
end

for at = count + 2, #ARGV do
    for operation = 2, count + 1 do
        local name = ARGV[at] .. '.' .. ARGV[operation]
        local queue = 'streamstop.lane.' .. name
        names[#names + 1] = name
        keys[#keys + 1] = queue
        keys[#keys + 1] = queue .. '\6\0223'
        keys[#keys + 1] = queue .. '\6\0226'
        keys[#keys + 1] = queue .. '\6\0229'
        if #keys >= MOST_KEYS then
            look()
            keys, names = {}, {}
        end
    end
end
look()
if found > 0 then wake() end
return found
