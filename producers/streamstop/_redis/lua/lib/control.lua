--! include lib/announce
--! const LANE CONTROL_LANE
-- Jobs for the control lanes.

-- Put a job into the control lane, or into the one that is named.
local function queue_control(message, lane_name)
    redis.call('LPUSH', LANE .. (lane_name or CONTROL_LANE), message)
    announce(lane_name or CONTROL_LANE)
end
