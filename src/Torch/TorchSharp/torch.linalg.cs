using AdvContrast.Torch.Binding;

namespace TorchSharp;

// Norms and factors.
public static partial class torch
{
    /// <summary>Linear algebra.</summary>
    public static partial class linalg
    {
        public static Tensor norm(Tensor input, double ord, long[]? dims = null, bool keepdim = false) =>
            Ops.linalg_norm.Call(input, ord, dims, keepdim);

        public static Tensor norm(Tensor input, int ord, long[]? dims = null, bool keepdim = false) =>
            Ops.linalg_norm.Call(input, ord, dims, keepdim);

        public static Tensor norm(Tensor input, long[]? dims = null, bool keepdim = false) =>
            Ops.linalg_norm.Call(input, Arg.None, dims, keepdim);

        public static Tensor norm(Tensor input, string ord, long[]? dims = null, bool keepdim = false) =>
            Ops.linalg_norm_ord_str.Call(input, ord, dims, keepdim);

        public static Tensor vector_norm(
            Tensor input, double ord = 2, long[]? dims = null, bool keepdim = false) =>
            Ops.linalg_vector_norm.Call(input, ord, dims, keepdim);

        public static (Tensor L, Tensor info) cholesky_ex(Tensor input, bool check_errors = false) =>
            Ops.linalg_cholesky_ex.Call2(input, false, check_errors);
    }
}
