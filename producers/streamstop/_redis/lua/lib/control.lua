--! include lib/announce lib/back
--! const LANE CONTROL_LANE
-- Enqueues jobs in the control lanes.

-- Put a job into the lane `lane_name`; without it, into the control lane.
local function queue_control(message, lane_name)
    push_to_back(LANE .. (lane_name or CONTROL_LANE), message)
    announce(lane_name or CONTROL_LANE)
end
