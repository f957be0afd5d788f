// The bridge between .NET and libtorch: one function that calls any ATen operator by its schema, and others.
// It compiles against libtorch 1.13 and PyTorch 2.x, on a CPU alone or with CUDA:
//
//   g++ -O2 -std=<standard> -shared -fPIC -D_GLIBCXX_USE_CXX11_ABI=<abi> -Wl,--no-as-needed \
//       -I<include> -I<include>/torch/csrc/api/include bridge.cpp \
//       -L<lib> -ltorch -ltorch_cpu -lc10 -Wl,-rpath,<lib> -o libadvcontrast_torch.so
//
// <standard> is c++17, or c++20 where the headers ask for it.
// <abi> is 1 for Debian's libtorch and for PyTorch since 2.6, 0 for older pip builds
// (torch.compiled_with_cxx11_abi()).
#include "bridge.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Tensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/version.h>

#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define TORCH_AT_LEAST(major, minor) \
  (TORCH_VERSION_MAJOR > (major) || (TORCH_VERSION_MAJOR == (major) && TORCH_VERSION_MINOR >= (minor)))

// The caching allocator of every accelerator has one face since 2.9. Before that CUDA's own headers are needed,
// which are often absent where a CUDA PyTorch is present.
#if TORCH_AT_LEAST(2, 9)
#include <c10/core/CachingDeviceAllocator.h>
#define ADV_DEVICE_ALLOCATOR 1
#endif

namespace {

using c10::IValue;
using c10::TensorImpl;
using TensorPointer = c10::intrusive_ptr<TensorImpl, c10::UndefinedTensorImpl>;

#if TORCH_AT_LEAST(2, 4)
template <class T> using optional = std::optional<T>;
#else
template <class T> using optional = c10::optional<T>;
#endif

#ifdef __x86_64__
// ATen 1.13 takes its kernels for AVX2 unless told otherwise, from times when AVX-512 slowed a processor down. One
// that has bfloat16 is of later times. It looks once, at its first operator.
__attribute__((constructor)) void widen() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) setenv("ATEN_CPU_CAPABILITY", "avx512", 0);
}
#endif

thread_local std::string last_error;
std::atomic<int64_t> live_tensors{0};
std::atomic<int64_t> peak_tensors{0};

// The first line says what went wrong; what follows are C++ frames that mean nothing to a .NET caller.
void remember(const char* message) {
  last_error = message;
  auto end = last_error.find('\n');
  if (end != std::string::npos) last_error.resize(end);
}

#ifdef AT_MINSIGSTKSZ
// .NET makes an exception of a null reference in a handler that runs on the thread's stack for signals. It gives that
// 16 KiB, which the registers of a processor with tiles (AMX) all but fill once the thread has multiplied some, and
// the process dies without a word. So a thread that comes here gets a wider one; .NET frees it at the thread's end.
bool widen_signal_stack() {
  constexpr size_t plenty = 64 << 10;
  constexpr size_t tiles = 8 << 10;
  const size_t registers = getauxval(AT_MINSIGSTKSZ);
  stack_t stack{};
  if (registers < tiles || sigaltstack(nullptr, &stack) != 0) return false;
  if (stack.ss_flags & (SS_DISABLE | SS_ONSTACK) || stack.ss_size >= plenty) return false;
  void* wide = mmap(nullptr, plenty, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (wide == MAP_FAILED) return false;
  stack.ss_sp = wide;
  stack.ss_size = plenty;
  return sigaltstack(&stack, nullptr) == 0;
}

void ready_for_signals() {
  thread_local const bool is_wide = widen_signal_stack();
  (void)is_wide;
}
#else
void ready_for_signals() {}
#endif

template <class F>
int32_t guarded(F&& body) {
  ready_for_signals();
  try {
    body();
    return 1;
  } catch (const c10::Error& e) {
    remember(e.what_without_backtrace());
  } catch (const std::exception& e) {
    remember(e.what());
  } catch (...) {
    remember("an unknown C++ exception");
  }
  return 0;
}

at::Tensor borrow(void* handle) {
  if (!handle) return {};
  return at::Tensor(TensorPointer::reclaim_copy(static_cast<TensorImpl*>(handle)));
}

void* release(at::Tensor&& tensor) {
  if (!tensor.defined()) return nullptr;
  auto now = live_tensors.fetch_add(1, std::memory_order_relaxed) + 1;
  auto peak = peak_tensors.load(std::memory_order_relaxed);
  while (now > peak && !peak_tensors.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return tensor.unsafeReleaseTensorImpl();
}

std::vector<at::Tensor> borrow_all(void** handles, int32_t n) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(n);
  for (int32_t i = 0; i < n; i++) tensors.push_back(borrow(handles[i]));
  return tensors;
}

at::Generator borrow_generator(void* handle) {
  return at::Generator(
      c10::intrusive_ptr<c10::GeneratorImpl>::reclaim_copy(static_cast<c10::GeneratorImpl*>(handle)));
}

// What a parameter's type asks of the value given for it, worked out once per operator.
enum class Want : uint8_t { AsGiven, Float, TensorList, OptionalTensorList, IntList, DoubleList, BoolList };

struct Operator {
  c10::OperatorHandle handle;
  std::vector<Want> wants;
  std::vector<optional<IValue>> defaults;
};

Want want_of(const c10::TypePtr& given) {
  c10::TypePtr type = given;
  if (auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
  if (type->kind() == c10::TypeKind::FloatType) return Want::Float;
  if (auto list = type->cast<c10::ListType>()) {
    auto element = list->getElementType();
    switch (element->kind()) {
      case c10::TypeKind::TensorType: return Want::TensorList;
      case c10::TypeKind::OptionalType: return Want::OptionalTensorList;
      case c10::TypeKind::FloatType: return Want::DoubleList;
      case c10::TypeKind::BoolType: return Want::BoolList;
      case c10::TypeKind::IntType:
      case c10::TypeKind::SymIntType: return Want::IntList;
      default: return Want::AsGiven;
    }
  }
  return Want::AsGiven;
}

IValue tensors_value(const adv_value& v, bool optional_elements) {
  auto handles = static_cast<void**>(v.p);
  if (optional_elements) {
    c10::List<optional<at::Tensor>> list;
    list.reserve(v.n);
    for (int32_t i = 0; i < v.n; i++)
      list.push_back(handles[i] ? optional<at::Tensor>(borrow(handles[i])) : optional<at::Tensor>());
    return list;
  }
  c10::List<at::Tensor> list;
  list.reserve(v.n);
  for (int32_t i = 0; i < v.n; i++) list.push_back(borrow(handles[i]));
  return list;
}

IValue ints_value(const adv_value& v, Want want) {
  auto values = static_cast<const int64_t*>(v.p);
  if (want == Want::DoubleList) return c10::List<double>(std::vector<double>(values, values + v.n));
  if (want == Want::BoolList) {
    c10::List<bool> list;
    for (int32_t i = 0; i < v.n; i++) list.push_back(values[i] != 0);
    return list;
  }
  c10::List<int64_t> list;
  list.reserve(v.n);
  for (int32_t i = 0; i < v.n; i++) list.push_back(values[i]);
  return list;
}

IValue to_ivalue(const adv_value& v, Want want) {
  switch (v.tag) {
    case ADV_NONE: return IValue();
    case ADV_INT:
      if (want == Want::Float) return IValue(static_cast<double>(v.i));
      if (want == Want::IntList) return IValue(c10::List<int64_t>({v.i}));
      return IValue(v.i);
    case ADV_DOUBLE: return IValue(v.d);
    case ADV_BOOL: return IValue(v.i != 0);
    case ADV_TENSOR: return v.p ? IValue(borrow(v.p)) : IValue();
    case ADV_INTS: return ints_value(v, want);
    case ADV_DOUBLES: {
      auto values = static_cast<const double*>(v.p);
      return c10::List<double>(std::vector<double>(values, values + v.n));
    }
    case ADV_TENSORS: return tensors_value(v, want == Want::OptionalTensorList);
    case ADV_STRING: return IValue(std::string(static_cast<const char*>(v.p), v.n));
    case ADV_DEVICE:
      return IValue(c10::Device(static_cast<c10::DeviceType>(v.i), static_cast<c10::DeviceIndex>(v.n)));
    case ADV_GENERATOR: return v.p ? IValue(borrow_generator(v.p)) : IValue();
    case ADV_COMPLEX: {
      auto parts = static_cast<const double*>(v.p);
      return IValue(c10::complex<double>(parts[0], parts[1]));
    }
    default: TORCH_CHECK(false, "an argument carries the unknown tag ", v.tag);
  }
}

adv_value simple(int32_t tag, int64_t i) {
  adv_value v;
  v.i = i;
  v.tag = tag;
  v.n = 0;
  return v;
}

adv_value simple(double d) {
  adv_value v;
  v.d = d;
  v.tag = ADV_DOUBLE;
  v.n = 0;
  return v;
}

adv_value tensor_result(at::Tensor&& tensor) {
  adv_value v;
  v.p = release(std::move(tensor));
  v.tag = ADV_TENSOR;
  v.n = 0;
  return v;
}

void flatten(IValue&& value, std::vector<adv_value>& into) {
  if (value.isTensor()) {
    into.push_back(tensor_result(std::move(value).toTensor()));
  } else if (value.isTensorList()) {
    for (at::Tensor t : std::move(value).toTensorVector()) into.push_back(tensor_result(std::move(t)));
  } else if (value.isInt()) {
    into.push_back(simple(ADV_INT, value.toInt()));
  } else if (value.isBool()) {
    into.push_back(simple(ADV_BOOL, value.toBool()));
  } else if (value.isDouble()) {
    into.push_back(simple(value.toDouble()));
  } else if (value.isComplexDouble()) {
    auto c = value.toComplexDouble();
    into.push_back(simple(c.real()));
    into.push_back(simple(c.imag()));
  } else if (value.isNone()) {
    into.push_back(simple(ADV_NONE, 0));
  } else {
    TORCH_CHECK(false, "the operator gives back a ", value.tagKind(), ", which has no form here");
  }
}

// A CUDA PyTorch keeps its CUDA half in a library of its own, which the linker may have dropped as unused.
void load_cuda() {
  static std::once_flag once;
  std::call_once(once, [] { dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL); });
}

const c10::impl::DeviceGuardImplInterface* guard_of(c10::DeviceType type) {
  if (type == c10::DeviceType::CUDA) load_cuda();
  return c10::impl::device_guard_impl_registry[static_cast<size_t>(type)].load();
}

c10::Device device_of(int32_t type, int32_t index) {
  return c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index));
}

void set_autocast(int32_t device_type, bool enabled, at::ScalarType dtype) {
#if TORCH_AT_LEAST(2, 4)
  auto type = static_cast<c10::DeviceType>(device_type);
  at::autocast::set_autocast_enabled(type, enabled);
  at::autocast::set_autocast_dtype(type, dtype);
#else
  if (device_type == static_cast<int32_t>(c10::DeviceType::CUDA)) {
    at::autocast::set_enabled(enabled);
    at::autocast::set_autocast_gpu_dtype(dtype);
  } else {
    at::autocast::set_cpu_enabled(enabled);
    at::autocast::set_autocast_cpu_dtype(dtype);
  }
#endif
}

adv_autocast_t autocast_state(int32_t device_type) {
  adv_autocast_t state;
  state.device_type = device_type;
  state.cache = at::autocast::is_autocast_cache_enabled();
#if TORCH_AT_LEAST(2, 4)
  auto type = static_cast<c10::DeviceType>(device_type);
  state.enabled = at::autocast::is_autocast_enabled(type);
  state.dtype = static_cast<int32_t>(at::autocast::get_autocast_dtype(type));
#else
  bool cuda = device_type == static_cast<int32_t>(c10::DeviceType::CUDA);
  state.enabled = cuda ? at::autocast::is_enabled() : at::autocast::is_cpu_enabled();
  auto dtype = cuda ? at::autocast::get_autocast_gpu_dtype() : at::autocast::get_autocast_cpu_dtype();
  state.dtype = static_cast<int32_t>(dtype);
#endif
  return state;
}

#if !TORCH_AT_LEAST(2, 0)
// Memory for tensors by plain malloc, aligned here. libtorch's own comes from posix_memalign, which before glibc 2.38
// cannot put a block where another of the same size was, so that memory that is kept falls into pieces.
struct Aligned final : c10::Allocator {
  static constexpr uintptr_t alignment = 64;

  static void release(void* data) {
    if (data) std::free(static_cast<void**>(data)[-1]);
  }

  c10::DataPtr allocate(size_t bytes) const override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &release, cpu};
    auto* whole = std::malloc(bytes + alignment + sizeof(void*));
    TORCH_CHECK(whole, "there is no memory for a tensor of ", bytes, " bytes.");
    const auto first = reinterpret_cast<uintptr_t>(whole) + sizeof(void*);
    auto* data = reinterpret_cast<void**>((first + alignment - 1) & ~(alignment - 1));
    data[-1] = whole;
    return {data, data, &release, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }
};

// From the start: oneDNN frees by the allocator of the moment what an earlier one may have given.
Aligned aligned;
const bool is_aligned = (c10::SetCPUAllocator(&aligned, 1), true);
#endif

// A step of a graph whose gradient is the caller's.
class Pull final : public torch::autograd::Node {
 public:
  Pull(torch::autograd::edge_list&& next, adv_pull_t pull, std::shared_ptr<void> state)
      : Node(std::move(next)), pull(pull), state(std::move(state)) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    if (!grads[0].defined()) return {at::Tensor()};
    char message[1024] = "";
    void* found = pull(state.get(), release(std::move(grads[0])), message, sizeof message);
    TORCH_CHECK(found, message);
    auto gradient = borrow(found);
    adv_free(found);
    return {gradient};
  }

  std::string name() const override { return "Pull"; }

 private:
  adv_pull_t pull;
  std::shared_ptr<void> state;
};

// Graphs hold their steps by shared_ptr, or since PyTorch 2.14 at the latest by counts of the steps' own. A graph has
// a few dozen of these, so that freeing one after the other needs no deleteNode, which not all versions have.
template <class Pointer = decltype(torch::autograd::Edge::function), class... Parts>
Pointer make_pull(Parts&&... parts) {
  if constexpr (std::is_same_v<Pointer, std::shared_ptr<torch::autograd::Node>>)
    return std::make_shared<Pull>(std::forward<Parts>(parts)...);
  else
    return c10::make_intrusive<Pull>(std::forward<Parts>(parts)...);
}

}  // namespace

const char* adv_error() { return last_error.c_str(); }
const char* adv_version() { return TORCH_VERSION; }

void* adv_op(const char* name, const char* overload) {
  Operator* op = nullptr;
  guarded([&] {
    auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    auto found = std::make_unique<Operator>(Operator{handle, {}, {}});
    for (const auto& argument : handle.schema().arguments()) {
      found->wants.push_back(want_of(argument.type()));
      found->defaults.push_back(argument.default_value());
    }
    op = found.release();  // operators live as long as the process
  });
  return op;
}

int32_t adv_call(void* op_handle, const adv_value* args, int32_t n, int32_t keep, const adv_value** results,
                 int32_t* count) {
  thread_local std::vector<IValue> stack;
  thread_local std::vector<adv_value> given_back;
  given_back.clear();
  auto done = guarded([&] {
    auto& op = *static_cast<Operator*>(op_handle);
    auto wanted = static_cast<int32_t>(op.wants.size());
    TORCH_CHECK(n <= wanted, "takes ", wanted, " arguments and was given ", n);
    for (int32_t i = 0; i < wanted; i++) {
      if (i < n && args[i].tag != ADV_DEFAULT) {
        stack.push_back(to_ivalue(args[i], op.wants[i]));
      } else {
        const auto& name = op.handle.schema().arguments()[i].name();
        TORCH_CHECK(op.defaults[i].has_value(), "needs a value for '", name, "'");
        stack.push_back(*op.defaults[i]);
      }
    }
    op.handle.callBoxed(&stack);
    if (keep)
      for (auto& value : stack) flatten(std::move(value), given_back);
  });
  stack.clear();
  if (!done) {
    for (auto& value : given_back)
      if (value.tag == ADV_TENSOR) adv_free(value.p);
    given_back.clear();
  }
  if (results) *results = given_back.data();
  if (count) *count = static_cast<int32_t>(given_back.size());
  return done;
}

int32_t adv_info(void* handle, adv_info_t* info) {
  return guarded([&] {
    auto tensor = borrow(handle);
    TORCH_CHECK(tensor.defined(), "the tensor is undefined");
    info->dtype = static_cast<int32_t>(tensor.scalar_type());
    info->element_size = static_cast<int32_t>(tensor.element_size());
    info->device_type = static_cast<int32_t>(tensor.device().type());
    info->device_index = tensor.device().index();
    info->layout = static_cast<int32_t>(tensor.layout());
    info->dim = tensor.dim();
    info->numel = tensor.numel();
    info->sizes = tensor.sizes().data();
    bool strided = tensor.layout() == c10::kStrided;
    info->strides = strided ? tensor.strides().data() : nullptr;
    info->storage_offset = strided ? tensor.storage_offset() : 0;
    info->data = strided && tensor.has_storage() ? tensor.data_ptr() : nullptr;
    int32_t flags = 0;
    if (tensor.requires_grad()) flags |= ADV_REQUIRES_GRAD;
    if (tensor.is_leaf()) flags |= ADV_IS_LEAF;
    if (strided && tensor.is_contiguous()) flags |= ADV_CONTIGUOUS;
    bool image = strided && tensor.dim() == 4;
    if (image && tensor.is_contiguous(c10::MemoryFormat::ChannelsLast)) flags |= ADV_CHANNELS_LAST;
    if (tensor.is_conj()) flags |= ADV_CONJUGATED;
    if (tensor.is_neg()) flags |= ADV_NEGATED;
    if (tensor.is_inference()) flags |= ADV_INFERENCE;
    info->flags = flags;
  });
}

void adv_free(void* handle) {
  if (!handle) return;
  live_tensors.fetch_sub(1, std::memory_order_relaxed);
  TensorPointer::reclaim(static_cast<TensorImpl*>(handle));
}

int64_t adv_live(int32_t peak) {
  return (peak ? peak_tensors : live_tensors).load(std::memory_order_relaxed);
}

int32_t adv_set_requires_grad(void* handle, int32_t on) {
  return guarded([&] {
    auto tensor = borrow(handle);
    TORCH_CHECK(on || tensor.is_leaf(), "you can only change requires_grad flags of leaf variables");
    tensor.set_requires_grad(on != 0);
  });
}

int32_t adv_retain_grad(void* handle) {
  return guarded([&] { borrow(handle).retain_grad(); });
}

int32_t adv_get_grad(void* handle, void** grad) {
  return guarded([&] { *grad = release(at::Tensor(borrow(handle).grad())); });
}

int32_t adv_set_grad(void* handle, void* grad) {
  return guarded([&] { borrow(handle).mutable_grad() = borrow(grad); });
}

int32_t adv_autograd_grad(void** outputs, int32_t n_outputs, void** inputs, int32_t n_inputs,
                          void** grads, int32_t n_grads, int32_t retain, int32_t create,
                          int32_t allow_unused, void** result) {
  return guarded([&] {
    auto keep = retain < 0 ? optional<bool>() : optional<bool>(retain != 0);
    auto found = torch::autograd::grad(borrow_all(outputs, n_outputs), borrow_all(inputs, n_inputs),
                                       borrow_all(grads, n_grads), keep, create != 0, allow_unused != 0);
    for (int32_t i = 0; i < n_inputs; i++) result[i] = release(std::move(found[i]));
  });
}

int32_t adv_autograd_backward(void** tensors, int32_t n_tensors, void** grads, int32_t n_grads,
    int32_t retain,
                              int32_t create, void** inputs, int32_t n_inputs) {
  return guarded([&] {
    auto keep = retain < 0 ? optional<bool>() : optional<bool>(retain != 0);
    torch::autograd::backward(borrow_all(tensors, n_tensors), borrow_all(grads, n_grads), keep, create != 0,
                              borrow_all(inputs, n_inputs));
  });
}

int32_t adv_autograd_attach(void* x, void* y, adv_pull_t pull, void (*drop)(void* state), void* state) {
  return guarded([&] {
    std::shared_ptr<void> held(state, drop);
    auto outcome = borrow(y);
    TORCH_CHECK(!outcome.requires_grad(), "the outcome has a gradient already");
    auto next = torch::autograd::collect_next_edges(borrow(x));
    torch::autograd::create_gradient_edge(outcome, make_pull(std::move(next), pull, std::move(held)));
  });
}

int32_t adv_flag(int32_t flag, int32_t value) {
  int32_t before = -1;
  guarded([&] {
    auto& context = at::globalContext();
    bool set = value >= 0, on = value > 0;
    switch (flag) {
      case ADV_FLAG_GRAD_MODE:
        before = c10::GradMode::is_enabled();
        if (set) c10::GradMode::set_enabled(on);
        break;
      case ADV_FLAG_DETERMINISTIC:
        before = context.deterministicAlgorithms();
        if (set) {
          context.setDeterministicAlgorithms(on, false);
          context.setDeterministicCuDNN(on);
        }
        break;
      case ADV_FLAG_TF32_MATMUL:
        before = context.allowTF32CuBLAS();
        if (set) context.setAllowTF32CuBLAS(on);
        break;
      case ADV_FLAG_TF32_CUDNN:
        before = context.allowTF32CuDNN();
        if (set) context.setAllowTF32CuDNN(on);
        break;
      case ADV_FLAG_CUDNN_BENCHMARK:
        before = context.benchmarkCuDNN();
        if (set) context.setBenchmarkCuDNN(on);
        break;
      case ADV_FLAG_INFERENCE_MODE:
        before = c10::InferenceMode::is_enabled();
        break;
      default: TORCH_CHECK(false, "no flag has the number ", flag);
    }
  });
  return before;
}

void* adv_inference_enter(int32_t on) { return new c10::InferenceMode(on != 0); }
void adv_inference_exit(void* guard) { delete static_cast<c10::InferenceMode*>(guard); }

int32_t adv_autocast_enter(int32_t device_type, int32_t dtype, adv_autocast_t* before) {
  return guarded([&] {
    *before = autocast_state(device_type);
    set_autocast(device_type, true, static_cast<at::ScalarType>(dtype));
    at::autocast::set_autocast_cache_enabled(true);
    at::autocast::increment_nesting();
  });
}

int32_t adv_autocast_exit(const adv_autocast_t* before) {
  return guarded([&] {
    // the copies cached for the outermost scope would otherwise outlive an update of the weights
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    set_autocast(before->device_type, before->enabled != 0, static_cast<at::ScalarType>(before->dtype));
    at::autocast::set_autocast_cache_enabled(before->cache != 0);
  });
}

int32_t adv_default_dtype(int32_t dtype) {
  int32_t before = -1;
  guarded([&] {
    before = static_cast<int32_t>(c10::get_default_dtype_as_scalartype());
    if (dtype >= 0) c10::set_default_dtype(c10::scalarTypeToTypeMeta(static_cast<c10::ScalarType>(dtype)));
  });
  return before;
}

void* adv_generator_default(int32_t device_type, int32_t device_index) {
  void* handle = nullptr;
  guarded([&] {
    guard_of(static_cast<c10::DeviceType>(device_type));
    at::Generator generator = at::globalContext().defaultGenerator(device_of(device_type, device_index));
    handle = generator.unsafeReleaseGeneratorImpl();
  });
  return handle;
}

void* adv_generator_new(int32_t device_type, int32_t device_index, uint64_t seed) {
  void* handle = nullptr;
  guarded([&] {
    guard_of(static_cast<c10::DeviceType>(device_type));
    // a clone of the default one is the way that needs no header of the device's own
    at::Generator shared = at::globalContext().defaultGenerator(device_of(device_type, device_index));
    std::unique_lock<std::mutex> lock(shared.mutex());
    at::Generator own = shared.clone();
    lock.unlock();
    own.set_current_seed(seed);
    handle = own.unsafeReleaseGeneratorImpl();
  });
  return handle;
}

void adv_generator_free(void* generator) {
  if (generator) c10::intrusive_ptr<c10::GeneratorImpl>::reclaim(static_cast<c10::GeneratorImpl*>(generator));
}

int32_t adv_generator_set_seed(void* handle, uint64_t seed) {
  return guarded([&] {
    auto generator = borrow_generator(handle);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  });
}

int32_t adv_generator_seed(void* handle, int32_t renew, uint64_t* seed) {
  return guarded([&] {
    auto generator = borrow_generator(handle);
    std::lock_guard<std::mutex> lock(generator.mutex());
    *seed = renew ? generator.seed() : generator.current_seed();
  });
}

int32_t adv_generator_get_state(void* handle, void** state) {
  return guarded([&] {
    auto generator = borrow_generator(handle);
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = release(generator.get_state());
  });
}

int32_t adv_generator_set_state(void* handle, void* state) {
  return guarded([&] {
    auto generator = borrow_generator(handle);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(borrow(state));
  });
}

int32_t adv_threads(int32_t which, int32_t n) {
  int32_t now = -1;
  guarded([&] {
    if (n > 0) which == 0 ? at::set_num_threads(n) : at::set_num_interop_threads(n);
    now = which == 0 ? at::get_num_threads() : static_cast<int32_t>(at::get_num_interop_threads());
  });
  return now;
}

int32_t adv_keep_memory() {
#ifdef __GLIBC__
  // Whoever has set one of these for the process is not overruled.
  for (auto name : {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"})
    if (std::getenv(name)) return 0;
  constexpr int most = 1 << 30;
  // One arena: those of other threads are too small for tensors, which would be mapped anew each time.
  return mallopt(M_ARENA_MAX, 1) && mallopt(M_MMAP_THRESHOLD, most) && mallopt(M_TRIM_THRESHOLD, most);
#else
  return 0;
#endif
}

int32_t adv_device_count(int32_t device_type) {
  int32_t count = 0;
  guarded([&] {
    auto guard = guard_of(static_cast<c10::DeviceType>(device_type));
    count = guard ? guard->deviceCount() : 0;
  });
  return count;
}

int32_t adv_synchronize(int32_t device_type, int32_t device_index) {
  return guarded([&] {
    auto type = static_cast<c10::DeviceType>(device_type);
    if (type == c10::DeviceType::CPU) return;
    auto guard = guard_of(type);
    TORCH_CHECK(guard, "this libtorch was built without ", c10::DeviceTypeName(type));
    auto device = device_index < 0 ? guard->getDevice() : device_of(device_type, device_index);
#if TORCH_AT_LEAST(2, 6)
    guard->synchronizeDevice(device.index());
#else
    at::detail::getCUDAHooks().deviceSynchronize(device.index());
#endif
  });
}

int32_t adv_memory(int32_t device_type, int32_t device_index, int64_t* bytes) {
  return guarded([&] {
#ifdef ADV_DEVICE_ALLOCATOR
    auto type = static_cast<c10::DeviceType>(device_type);
    auto guard = guard_of(type);
    TORCH_CHECK(guard, "this libtorch was built without ", c10::DeviceTypeName(type));
    auto index = device_index < 0 ? guard->getDevice().index() : static_cast<c10::DeviceIndex>(device_index);
    bytes[0] = bytes[1] = bytes[2] = 0;
    auto allocator = c10::getDeviceAllocator(type);
    if (!allocator->initialized()) return;  // nothing has been on the device yet
    auto stats = allocator->getDeviceStats(index);
    bytes[0] = stats.allocated_bytes[0].current;
    bytes[1] = stats.allocated_bytes[0].peak;
    bytes[2] = stats.reserved_bytes[0].current;
#else
    TORCH_CHECK(false, "memory statistics of a device need PyTorch 2.9, and this is ", TORCH_VERSION);
#endif
  });
}

int32_t adv_empty_cache(int32_t device_type) {
  return guarded([&] {
    auto type = static_cast<c10::DeviceType>(device_type);
    if (type == c10::DeviceType::CPU) return;
#ifdef ADV_DEVICE_ALLOCATOR
    TORCH_CHECK(guard_of(type), "this libtorch was built without ", c10::DeviceTypeName(type));
    c10::getDeviceAllocator(type)->emptyCache();
#else
    TORCH_CHECK(false, "emptying a device's cache needs PyTorch 2.9, and this is ", TORCH_VERSION);
#endif
  });
}
