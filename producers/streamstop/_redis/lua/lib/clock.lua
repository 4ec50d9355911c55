-- Redis' own time, read once in each run. Moments of lanes are in µs since the epoch, moments of rooms in s.

local SECOND = 1000000

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now = now_s * SECOND + time[2]

-- Return a whole number as text. Lua's own conversion rounds to 14 digits.
local function integer(number)
    return string.format('%.0f', number)
end
