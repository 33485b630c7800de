// The functions that addon.cc registers.
#pragma once

#include <napi.h>

namespace sweet {

Napi::Value bind_token_logps(const Napi::CallbackInfo& info);
Napi::Value bind_token_logps_backward(const Napi::CallbackInfo& info);
Napi::Value bind_linear_logps(const Napi::CallbackInfo& info);
Napi::Value bind_linear_logps_backward(const Napi::CallbackInfo& info);
Napi::Value bind_partials(const Napi::CallbackInfo& info);
Napi::Value bind_merge_partials(const Napi::CallbackInfo& info);
Napi::Value bind_turn_advantages(const Napi::CallbackInfo& info);
Napi::Value bind_turn_advantages_backward(const Napi::CallbackInfo& info);
Napi::Value bind_trajectory_preference(const Napi::CallbackInfo& info);
Napi::Value bind_turn_preference(const Napi::CallbackInfo& info);
Napi::Value bind_critic_update(const Napi::CallbackInfo& info);
Napi::Value bind_policy_update(const Napi::CallbackInfo& info);
Napi::Value bind_first_not_finite(const Napi::CallbackInfo& info);
Napi::Value bind_backends(const Napi::CallbackInfo& info);
Napi::Value bind_use_backend(const Napi::CallbackInfo& info);
Napi::Value bind_threads(const Napi::CallbackInfo& info);
Napi::Value bind_set_threads(const Napi::CallbackInfo& info);
Napi::Value bind_shm_open(const Napi::CallbackInfo& info);
Napi::Value bind_shm_close(const Napi::CallbackInfo& info);
Napi::Value bind_shm_unlink(const Napi::CallbackInfo& info);

}  // namespace sweet
