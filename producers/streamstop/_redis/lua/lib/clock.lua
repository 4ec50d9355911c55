-- Redis' own time, one reading for each run. Moments of lanes are in µs since the epoch, those of rooms in s.

local SECOND = 1000000

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now = now_s * SECOND + time[2]

-- Return a whole number as text. Lua's own conversion would round it to 14 digits.
local function integer(number)
    return string.format('%.0f', number)
end
