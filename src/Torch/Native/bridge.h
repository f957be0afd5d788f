// The C face of libtorch that the managed side calls. Every function that can fail returns 0 or null and leaves
// its message with adv_error(); no C++ exception crosses this line. Tensor handles are counted references: whoever
// gets one frees it once with adv_free. A null handle is the undefined tensor.
#pragma once
#include <cstdint>

#define ADV_API extern "C" __attribute__((visibility("default")))

// What a value is; the numbers are shared with Binding/Arg.cs.
enum adv_tag : int32_t {
  ADV_NONE = 0,
  ADV_INT = 1,          // also dtypes, layouts and memory formats
  ADV_DOUBLE = 2,
  ADV_BOOL = 3,
  ADV_TENSOR = 4,       // p: handle, null where the schema's optional tensor is absent
  ADV_INTS = 5,         // p: int64_t[n]
  ADV_DOUBLES = 6,      // p: double[n]
  ADV_TENSORS = 7,      // p: handle[n], null elements for absent ones
  ADV_STRING = 8,       // p: char[n], UTF-8
  ADV_DEVICE = 9,       // i: device type, n: index, -1 for the current one
  ADV_GENERATOR = 10,   // p: generator handle
  ADV_COMPLEX = 11,     // p: double[2]
  ADV_DEFAULT = 12,     // take the schema's default
};

struct adv_value {
  union {
    int64_t i;
    double d;
    void* p;
  };
  int32_t tag;
  int32_t n;
};

// All that is asked about a tensor, in one call. sizes and strides live as long as the tensor does.
struct adv_info_t {
  void* data;
  const int64_t* sizes;
  const int64_t* strides;
  int64_t dim;
  int64_t numel;
  int64_t storage_offset;
  int32_t dtype;
  int32_t element_size;
  int32_t device_type;
  int32_t device_index;
  int32_t layout;
  int32_t flags;
};

enum adv_info_flag : int32_t {
  ADV_REQUIRES_GRAD = 1,
  ADV_IS_LEAF = 2,
  ADV_CONTIGUOUS = 4,
  ADV_CHANNELS_LAST = 8,
  ADV_CONJUGATED = 16,
  ADV_NEGATED = 32,
  ADV_INFERENCE = 64,
};

enum adv_flag_t : int32_t {
  ADV_FLAG_GRAD_MODE = 0,
  ADV_FLAG_DETERMINISTIC = 1,
  ADV_FLAG_TF32_MATMUL = 2,
  ADV_FLAG_TF32_CUDNN = 3,
  ADV_FLAG_CUDNN_BENCHMARK = 4,
  ADV_FLAG_INFERENCE_MODE = 5,  // to be read only: entering needs adv_inference_enter
};

struct adv_autocast_t {
  int32_t device_type;
  int32_t enabled;
  int32_t dtype;
  int32_t cache;
};

ADV_API const char* adv_error();
ADV_API const char* adv_version();

// Operators: found once by name ("aten::add") and overload ("Tensor"), then called with as many leading
// arguments as wanted; the schema's defaults fill the rest. Results, lists flattened, stay readable until the
// thread's next call. With keep = 0 they are dropped (operators that change their argument in place).
ADV_API void* adv_op(const char* name, const char* overload);
ADV_API int32_t adv_call(void* op, const adv_value* args, int32_t n, int32_t keep,
                         const adv_value** results, int32_t* count);

ADV_API int32_t adv_info(void* tensor, adv_info_t* info);
ADV_API void adv_free(void* tensor);
// Handles not yet freed: now, or the most there have been.
ADV_API int64_t adv_live(int32_t peak);

ADV_API int32_t adv_set_requires_grad(void* tensor, int32_t on);
ADV_API int32_t adv_retain_grad(void* tensor);
ADV_API int32_t adv_get_grad(void* tensor, void** grad);
ADV_API int32_t adv_set_grad(void* tensor, void* grad);

// retain: 0 no, 1 yes, -1 as create says. result has room for as many handles as there are inputs.
ADV_API int32_t adv_autograd_grad(void** outputs, int32_t n_outputs, void** inputs, int32_t n_inputs,
                                  void** grads, int32_t n_grads, int32_t retain, int32_t create,
                                  int32_t allow_unused, void** result);
ADV_API int32_t adv_autograd_backward(void** tensors, int32_t n_tensors, void** grads, int32_t n_grads,
                                      int32_t retain, int32_t create, void** inputs, int32_t n_inputs);

// The caller's own gradient: takes over the handle of the outcome's and gives one of x's, or null and a message of
// at most so many bytes. Called by whichever thread of libtorch's goes back.
typedef void* (*adv_pull_t)(void* state, void* grad, char* message, int32_t bytes);
// y, made of x without a graph, is from now on an outcome of x whose gradient pull makes; drop is called once, when
// nothing needs state any more (at once on an error).
ADV_API int32_t adv_autograd_attach(void* x, void* y, adv_pull_t pull, void (*drop)(void* state), void* state);

// value -1 asks; otherwise sets. Returns what it was before, or -1 on an error.
ADV_API int32_t adv_flag(int32_t flag, int32_t value);
ADV_API void* adv_inference_enter(int32_t on);
ADV_API void adv_inference_exit(void* guard);
ADV_API int32_t adv_autocast_enter(int32_t device_type, int32_t dtype, adv_autocast_t* before);
ADV_API int32_t adv_autocast_exit(const adv_autocast_t* before);
ADV_API int32_t adv_default_dtype(int32_t dtype);

ADV_API void* adv_generator_default(int32_t device_type, int32_t device_index);
ADV_API void* adv_generator_new(int32_t device_type, int32_t device_index, uint64_t seed);
ADV_API void adv_generator_free(void* generator);
ADV_API int32_t adv_generator_set_seed(void* generator, uint64_t seed);
ADV_API int32_t adv_generator_seed(void* generator, int32_t renew, uint64_t* seed);
ADV_API int32_t adv_generator_get_state(void* generator, void** state);
ADV_API int32_t adv_generator_set_state(void* generator, void* state);

// which: 0 within an operator, 1 between operators; n 0 asks.
ADV_API int32_t adv_threads(int32_t which, int32_t n);
// Freed memory stays with the process; 0 where that cannot be had or the environment says otherwise.
ADV_API int32_t adv_keep_memory();

ADV_API int32_t adv_device_count(int32_t device_type);
ADV_API int32_t adv_synchronize(int32_t device_type, int32_t device_index);
// allocated, peak and reserved bytes of the caching allocator; fails where this build cannot know them.
ADV_API int32_t adv_memory(int32_t device_type, int32_t device_index, int64_t* bytes);
ADV_API int32_t adv_empty_cache(int32_t device_type);
